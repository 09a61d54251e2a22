//go:build race

package e2etest_test

// raceDetector says whether these tests, and so the binary that they build, run with the race detector.
const raceDetector = true
