"""Publishers: pictures and messages for viewers, browsers and files."""
