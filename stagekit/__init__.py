"""The reusable part: identical in any pipeline of containerised stages."""
