"""Reading, and refusing, what people upload: pictures, archives of pictures, clips."""
