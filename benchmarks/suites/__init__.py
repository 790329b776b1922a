"""The suites: each declares its cases, and the options that they take."""
