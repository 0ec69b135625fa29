package invoke

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"lambent.dev/lambent/internal/lambda/function"
)

// ErrRecursive says that a function was invoked by what its own invocations had caused, again and
// again.
var ErrRecursive = errors.New("invocation is part of a recursive loop")

// maxLoop is how often a function may run in one chain of requests. AWS: about 16 times.
const maxLoop = 16

// follow adds an invocation of fn to the lineage in a trace header and returns how many there are of
// it with this one. Code in fn passes the header on: AWS's SDKs put the environment's
// _X_AMZN_TRACE_ID into the requests that they make. Code that takes it out is not stopped.
//
// AWS: the header's field Lineage is a list of functions' hashes with counts,
// "a87bd80c:1|68fd508a:5". Which hash is not told.
func follow(trace string, fn function.Function) (next string, count int) {
	sum := sha256.Sum256([]byte(fn.ARN() + "/" + fn.ID))
	id := hex.EncodeToString(sum[:4])
	var fields, lineage []string
	for field := range strings.SplitSeq(trace, ";") {
		list, found := strings.CutPrefix(strings.TrimSpace(field), "Lineage=")
		if !found {
			fields = append(fields, field)
			continue
		}
		for link := range strings.SplitSeq(list, "|") {
			if n, ours := strings.CutPrefix(link, id+":"); ours {
				before, err := strconv.Atoi(n)
				if err == nil && before > count {
					count = min(before, maxLoop) // a client may claim any number
				}
				continue
			}
			if link != "" {
				lineage = append(lineage, link)
			}
		}
	}
	count++
	lineage = append(lineage, fmt.Sprintf("%s:%d", id, min(count, maxLoop)))
	return strings.Join(append(fields, "Lineage="+strings.Join(lineage, "|")), ";"), count
}
