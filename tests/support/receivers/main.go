// Says of each line of stdin, a request with tabs between its parts, whether verify.go accepts it.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"receiver/webhook"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		request := strings.Split(lines.Text(), "\t")
		fmt.Println(webhook.Verify(request[0], request[1], request[2], request[3], []byte(request[4])))
	}
}
