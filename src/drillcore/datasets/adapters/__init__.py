"""Labels as other tools write them, brought into one of our own layouts before an import: one file for each tool."""
