"""Pictures as bytes and as pixels: recognise, decode, turn upright, draw. It knows nothing of rows."""
