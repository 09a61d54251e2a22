package main

// serveIfAsked serves as the upstream or the authorizer of a measurement, when that is what the process was started for.
func serveIfAsked(arguments []string) (served bool, _ error) { return false, nil }
