"""How good the model is that ships: on test, by task and class, with how sure that is."""
