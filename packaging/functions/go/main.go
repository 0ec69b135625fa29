// Command bootstrap is the demonstration's Go function, on AWS's own library for custom runtimes.
package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	lambda.Start(func(_ context.Context, event struct{ Name string }) (map[string]string, error) {
		fmt.Println("hello from Go", runtime.Version())
		return map[string]string{"hello": event.Name, "from": runtime.Version()}, nil
	})
}
