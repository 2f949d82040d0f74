"""What runs inside the images and belongs to the platform: no science, no KFP, no cloud SDK."""
