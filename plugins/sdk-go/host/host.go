// Package host is what the gateway does for a policy. In tests, package policytest says how it behaves.
//
// Now needs the capability "clock", Random the capability "random", Get, Put and Increment the capability "state", and HMACEach
// the capability "crypto". The rest is always available.
package host

// A Level is how important a line of the log is.
type Level uint8

// The levels.
const (
	Trace Level = iota
	Debug
	Info
	Warn
	Error
)

// A Hit says that bytes of a value look like what a detector looks for.
type Hit struct {
	// Value is the value's index, Start where in the value it begins, and Len how many bytes it has.
	Value, Start, Len uint32
	// Detector is the index of the detector in the request.
	Detector uint32
	// Score says how sure this is: 50 for a shape, 100 for a shape with a checksum that holds.
	Score uint8
}

// StateError says why a value could not be kept, such as that there are too many.
type StateError string

func (e StateError) Error() string { return string(e) }
