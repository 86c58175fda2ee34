"""The recipe that trains a teacher, and the perceptual loss it needs."""
