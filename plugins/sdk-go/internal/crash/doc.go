//go:build !wasip1

// Package crash tells the gateway's log where a policy panicked, where there is a gateway.
package crash
