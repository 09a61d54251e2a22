package dynamostore_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/stepgate/stepgate/internal/dynamotest"
)

// endpoint is where DynamoDB Local answers.
var endpoint string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv(standIn) != "" {
		return serveStandIn()
	}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_REGION": "eu-west-1", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintln(os.Stderr, "FAIL:", err)
			return 1
		}
	}
	if flag.Parse(); flag.Lookup("test.fuzz").Value.String() != "" {
		return m.Run() // fuzz targets ask no database, and have many processes
	}
	launched, stop, err := dynamotest.Launch()
	if err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		return 1
	}
	defer stop()
	endpoint = launched
	return m.Run()
}
