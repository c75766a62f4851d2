"""noref where no command line is: an HTTP service and its page (extra `serve`), and Ray Data (extra `ray`)."""
