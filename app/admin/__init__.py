"""What the app's staff see and do. Support reads, signs users out, unlocks accounts and sends password resets."""
