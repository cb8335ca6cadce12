"""Reporting: tables and plots of what run folders hold."""
