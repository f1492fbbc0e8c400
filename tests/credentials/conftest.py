from hypothesis import settings

# A busy machine must not fail a property for the time that one example took.
settings.register_profile("tokenvend", deadline=None)
settings.load_profile("tokenvend")
