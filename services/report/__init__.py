"""report: put one run into a page to read and forward."""
