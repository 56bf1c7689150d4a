"""`redheart` on the command line: the commands beside the workflow, by what they work on."""
