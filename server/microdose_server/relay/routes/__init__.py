"""A relay's paths: those of the API that viewers need, with the API's answers; one module per resource."""
