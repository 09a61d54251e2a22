//go:build race

package gatewaytest

// raceDetector says whether these tests, and so the binary that they build, run with the race detector.
const raceDetector = true
