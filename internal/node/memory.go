package node

import (
	"bufio"
	"bytes"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

const (
	// The heap's bound is a quarter of the host's memory within these.
	minHeap = 512 << 20
	maxHeap = 2 << 30

	// oomScore has the kernel choose nearly any other process before the server when the host is
	// out of memory: functions are started again, the region is all there is. The sandboxes'
	// score is their own.
	oomScore = "-900"
)

// protect bounds the server's heap and keeps it from the kernel's OOM killer. It returns the
// bound, beyond which the garbage collector works harder; an operator's GOMEMLIMIT stands.
func protect(logger *slog.Logger) (heap int64) {
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(oomScore), 0); err != nil {
		logger.Warn("the server is not protected from the OOM killer", "error", err)
	}
	heap = debug.SetMemoryLimit(-1) // only asks
	if heap == math.MaxInt64 {
		heap = max(min(meminfo("MemTotal:")/4, maxHeap), minHeap)
		debug.SetMemoryLimit(heap)
	}
	return heap
}

// reserve is memory of the host that environments never get.
const reserve = 256 << 20

// freeMemory is how much of the host's memory environments may still take: none where the host
// does not tell, for then its OOM killer would be the first to know.
func freeMemory() int64 { return max(0, meminfo("MemAvailable:")-reserve) }

// meminfo is a line of the kernel's account in bytes, zero if it has none.
func meminfo(name string) int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), name); ok {
			kb, err := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			if err != nil {
				return 0
			}
			return kb << 10
		}
	}
	return 0
}

// residentMemory is the memory of this process, zero if the kernel does not tell.
func residentMemory() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
