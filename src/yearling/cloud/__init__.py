"""Azure: places and who asks there, blobs up and down, a project that lies on Blob."""
