"""The evaluation tasks as data: a TOML file each, and the record that it is read into."""
