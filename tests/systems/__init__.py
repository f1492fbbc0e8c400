"""Systems whose users move in: their own packages hash passwords, and the users sign in here with them."""
