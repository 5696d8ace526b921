"""Detection: from images, folders and videos to boxes on disk."""
