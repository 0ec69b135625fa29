// Package wire maps AWS requests and responses onto the typed inputs and outputs of
// aws-sdk-go-v2, driven by the Smithy schemas the SDK ships or, for services it does not ship
// them for, by schemas written with [Struct] and [Member]. It speaks restJson1, awsJson 1.0 and
// 1.1 and awsQuery.
//
// A [Service] is a table of operations. One request is one [Call]: Route finds the operation,
// Decode reads the whole body into the input, Access says what the caller must be allowed to do,
// Handle runs the handler and writes the answer. Whatever fails is written by
// [Service.WriteError] in the protocol's own format.
//
// Promises: no input makes it panic or answer 5xx (what does not fit a shape is a
// [SerializationError]); a handler runs only after the body was read to its end without error;
// unknown members are ignored; plain numbers and booleans are always sent, unset pointers,
// slices and maps never are.
//
// A Service is immutable once it served a request and may be used by any number of goroutines; a
// Call belongs to one.
package wire
