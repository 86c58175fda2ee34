"""The torch side of the codec: the teacher, its exact export, and the encoder that writes segments."""
