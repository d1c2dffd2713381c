//go:build !wasip1

package host

import "portcullis/policy/internal/double"

// Log writes a line of at most 1024 bytes to the gateway's log.
func Log(_ Level, message string) { double.Current.Lines = append(double.Current.Lines, message) }

// Now is the time in milliseconds since the Unix epoch.
func Now() uint64 { return double.Current.NowMS }

// Random is n random bytes, at most 4096.
func Random(n uint32) []byte {
	bytes := make([]byte, n)
	for i := range bytes {
		bytes[i] = byte(i)
	}
	return bytes
}

// Get is the value of a key, and whether there is one.
func Get(key string) ([]byte, bool) { return double.Current.Get(key) }

// Put sets the value of a key for a time.
func Put(key string, value []byte, ttlSeconds uint32) error {
	return stateError(double.Current.Put(key, value, expiry(ttlSeconds)))
}

// Increment adds to a counter and returns the sum. The time runs from the first increment, so that a counter is a window.
func Increment(key string, by int64, ttlSeconds uint32) (int64, error) {
	sum, err := double.Current.Increment(key, by, expiry(ttlSeconds))
	return sum, stateError(err)
}

// Detectors are the names that Scan knows: "email", "card", "ssn", "iban", "phone" and "secret".
func Detectors() []string { return double.Names() }

// Scan looks for personal data and secrets in all values of a chunk: value i is data[ends[i-1]:ends[i]]. Hits are in order and
// do not overlap within a value.
func Scan(detectors []string, ends []uint32, data []byte) (hits []Hit) {
	for _, hit := range double.Current.Scan(detectors, ends, data) {
		hits = append(hits, Hit(hit))
	}
	return hits
}

// HMACEach is the first length bytes, 1 to 32, of the HMAC-SHA-256 of each value under the gateway's masking key, one after another.
func HMACEach(ends []uint32, data []byte, length uint32) []byte {
	return double.Current.HMACEach(ends, data, length)
}

func expiry(ttlSeconds uint32) uint64 { return double.Current.NowMS + uint64(ttlSeconds)*1000 }

func stateError(err error) error {
	if err == nil {
		return nil
	}
	return StateError(err.Error())
}
