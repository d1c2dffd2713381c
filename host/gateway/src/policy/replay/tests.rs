//! Replays of made-up logs.
