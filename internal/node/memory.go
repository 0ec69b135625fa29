package node

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"strings"
)

// reserve is memory of the host that environments never get.
const reserve = 256 << 20

// freeMemory is how much of the host's memory environments may still take: none where the host
// does not tell, for then its OOM killer would be the first to know.
func freeMemory() int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "MemAvailable:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			if err != nil {
				return 0
			}
			return max(0, kb<<10-reserve)
		}
	}
	return 0
}
