// Package function is Lambda's noun: functions, their rules, states and store, and what passes
// between whoever invokes one and the environment that runs it.
//
// A Store promises what AWS promises: a write that returned is durable; a function is Pending
// until its code and its runtime's image are ready to be mounted, then Active; an update serves
// the old code until the new one is ready. It is safe for concurrent use. Functions handed out
// are shared: treat their maps as immutable.
package function

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"lambent.dev/lambent/internal/arn"
	"lambent.dev/lambent/internal/blob"
)

// Latest is the version every function has.
const Latest = "$LATEST"

// What a function's RecursiveLoop may be.
const (
	Allow     = "Allow"
	Terminate = "Terminate"
)

// The states of a function, and of its last update.
const (
	Pending    = "Pending"
	Active     = "Active"
	Failed     = "Failed"
	InProgress = "InProgress"
	Successful = "Successful"
)

// Function is one version of a function.
type Function struct {
	Account, Region, Name, Version string
	Settings
	PackageType  string
	Tags         map[string]string
	Code         Code
	RevisionID   string
	LastModified time.Time
	Image        Image // the runtime's, once resolved

	State, StateReason, StateReasonCode                                  string
	LastUpdateStatus, LastUpdateStatusReason, LastUpdateStatusReasonCode string

	LogGroup string // /aws/lambda/NAME
	ID       string // the function's own: one made again under the same name has another
	// RecursiveLoop says what becomes of an invocation that goes round in a circle: Allow or
	// Terminate, which it is when empty.
	RecursiveLoop string `json:",omitempty"`
	// Generation is another one whenever an environment of before must not serve any more: with
	// the code, the runtime's image, and what of the settings an environment is made of.
	Generation string
}

// Settings are what CreateFunction and UpdateFunctionConfiguration set.
type Settings struct {
	Runtime, Handler, Role, Description string
	Timeout                             int // seconds
	Memory                              int // MB
	EphemeralStorage                    int // MB of /tmp
	Environment                         map[string]string
	Architecture                        string
	Tracing                             string
}

// Code is a deployment package.
type Code struct {
	Digest blob.Digest
	SHA256 string // base64, as AWS shows it
	Size   int64  // of the zip, bytes
}

// Image is the image a function's runtime was resolved to.
type Image struct {
	Reference string // the one that could be had
	Digest    string
}

// ARN is the function's unqualified ARN.
func (f Function) ARN() string { return ARN(f.Region, f.Account, f.Name) }

// QualifiedARN is the ARN with the version.
func (f Function) QualifiedARN() string { return f.ARN() + ":" + f.Version }

// ARN is the ARN of a function that may or may not exist.
func ARN(region, account, name string) string {
	return arn.ARN{Partition: arn.Partition(region), Service: "lambda", Region: region, Account: account, Resource: "function:" + name}.String()
}

// LastModifiedText is LastModified as AWS writes it.
func (f Function) LastModifiedText() string {
	return f.LastModified.UTC().Format("2006-01-02T15:04:05.000-0700")
}

// Updating tells whether a change of code or configuration is being made ready.
func (f Function) Updating() bool { return f.LastUpdateStatus == InProgress }

// generation is what Generation is to be.
func (f Function) generation() string {
	made := f.Settings
	made.Description = "" // no environment shows it
	b, err := json.Marshal(struct {
		ID, LogGroup string
		Settings     Settings
		Code         blob.Digest
		Image        Image
	}{f.ID, f.LogGroup, made, f.Code.Digest, f.Image})
	if err != nil {
		panic(fmt.Sprintf("generation of %s: %v", f.Name, err)) // texts and numbers can be encoded
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// Invocation is one request to run a function.
type Invocation struct {
	Account, Name, Qualifier string
	FunctionID               string // the function that was meant when it was accepted; empty means whichever has the name
	RequestID                string
	Payload                  []byte // whole: a signature covers it, and code must not see what is not verified
	ClientContext            string // JSON
	Trace                    string // X-Amzn-Trace-Id
	Tail                     bool   // the answer carries the end of the log
	Async                    bool   // comes from the queue of events
	InvokedARN               string
	Caller                   string // ARN of who asked
	Received                 time.Time
}

// Result is what running a function gave.
type Result struct {
	Body    io.ReadCloser
	Size    int64  // of Body, -1 while it is not known
	Error   string // X-Amz-Function-Error: "", "Handled" or "Unhandled"
	Version string // that ran
	LogTail []byte // at most 4 KB, if asked for
	Report  Report
}

// Report is what a REPORT line says, and what is metered.
type Report struct {
	RequestID         string
	Init, Duration    time.Duration
	Cold              bool // the request waited for an initialisation
	Memory, MaxMemory int  // MB
	Outcome           string
}

// RuntimeVersionARN names the version of the runtime: the image that the function was made ready
// with or, while there is none, what stands for whichever will be. AWS: its last part is a hash.
func (f Function) RuntimeVersionARN() string {
	_, hash, found := strings.Cut(f.Image.Digest, ":")
	if !found {
		sum := sha256.Sum256([]byte("runtime:" + f.Runtime))
		hash = hex.EncodeToString(sum[:])
	}
	return "arn:" + arn.Partition(f.Region) + ":lambda:" + f.Region + "::runtime:" + hash
}
