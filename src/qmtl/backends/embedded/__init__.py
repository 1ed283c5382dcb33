"""The embedded default of every port: SQLite files and folders."""
