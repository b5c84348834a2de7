from yearling.run_folder import *  # noqa: F403
