// Command probe is the code in the sandbox of a test: it connects to its agent, says what else
// it can connect to, and repeats what the agent says.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

func main() {
	agent, err := net.Dial("tcp", os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for _, addr := range os.Args[2:] {
		answer := "open"
		if c, err := net.DialTimeout("tcp", addr, 700*time.Millisecond); err != nil {
			answer = "closed"
		} else {
			c.Close()
		}
		fmt.Fprintln(agent, addr, answer)
	}
	io.Copy(agent, agent)
}
