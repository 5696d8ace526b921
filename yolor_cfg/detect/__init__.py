"""From a picture, a folder or a video to boxes on disk."""
