"""The server: teacher, distillation, jobs and the HTTP API."""
