// Package acceptance drives the provider's binary with HashiCorp's own test tool, against a running stack: each resource
// is created, read back, imported and compared, changed in place, refused where it must be, and destroyed.
package acceptance

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
)

var providers = map[string]resource.ExternalProvider{"kiven": {Source: "kiven/kiven"}}

const environment = `
resource "kiven_environment" "this" {
  name             = "acceptance"
  aws_account_id   = "000000000000"
  aws_region       = "eu-west-1"
  eks_cluster_name = "local"
}
`

const connected = environment + `
resource "kiven_environment_connection" "this" {
  environment_id  = kiven_environment.this.id
  role_arn        = "arn:aws:iam::000000000000:role/kiven-access"
  launch_template = "lt-local"
  subnets = {
    "eu-west-1a" = "subnet-local-a"
    "eu-west-1b" = "subnet-local-b"
    "eu-west-1c" = "subnet-local-c"
  }
}
`

func database(rest string) string {
	return connected + fmt.Sprintf(`
resource "kiven_database" "this" {
  name                = "acceptance"
  environment_id      = kiven_environment_connection.this.environment_id
  deletion_protection = false
  deletion            = { final_backup = false, grace_days = 0 }
  %s
}
`, rest)
}

func schedule(end string) string {
	return database(`plan = "hobbyist"`) + fmt.Sprintf(`
resource "kiven_power_schedule" "this" {
  database_ids = [kiven_database.this.id]
  time_zone    = "Europe/Paris"
  enabled      = false
  windows      = [{ days = ["mon", "tue"], start = "08:00", end = %q }]
}
`, end)
}

func run(t *testing.T, steps ...resource.TestStep) {
	t.Helper()
	resource.Test(t, resource.TestCase{ExternalProviders: providers, Steps: steps})
}

func inPlace(address string) resource.ConfigPlanChecks {
	return resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
		plancheck.ExpectResourceAction(address, plancheck.ResourceActionUpdate),
	}}
}

func imported(address string, ignored ...string) resource.TestStep {
	return resource.TestStep{ResourceName: address, ImportState: true, ImportStateVerify: true, ImportStateVerifyIgnore: ignored}
}

// refused is a step that must fail. It is never the last of a test: the destroy at the end takes the last configuration,
// which must at least be valid.
func refused(config, message string) resource.TestStep {
	return resource.TestStep{Config: config, ExpectError: regexp.MustCompile(message)}
}

// neverReplaced is a step that asks for what cannot be changed in place: it is refused at plan. No attribute ever replaces.
func neverReplaced(config, was, wanted string) resource.TestStep {
	return refused(strings.Replace(config, was, wanted, 1), "KV-")
}

// by imports a resource by another attribute than its id.
func by(step resource.TestStep, attribute string) resource.TestStep {
	address := step.ResourceName
	step.ImportStateVerifyIdentifierAttribute = attribute
	step.ImportStateIdFunc = func(state *terraform.State) (string, error) {
		found, ok := state.RootModule().Resources[address]
		if !ok {
			return "", fmt.Errorf("%s is not in the state", address)
		}
		return found.Primary.Attributes[attribute], nil
	}
	return step
}

func TestEnvironment(t *testing.T) {
	address := "kiven_environment.this"
	run(t,
		resource.TestStep{Config: environment, Check: resource.ComposeAggregateTestCheckFunc(
			resource.TestCheckResourceAttrSet(address, "id"),
			resource.TestCheckResourceAttrSet(address, "external_id"),
			resource.TestCheckResourceAttr(address, "name", "acceptance"),
		)},
		imported(address),
		neverReplaced(environment, `"acceptance"`, `"renamed"`),
		neverReplaced(environment, `"000000000000"`, `"111111111111"`),
		neverReplaced(environment, `"eu-west-1"`, `"eu-west-2"`),
		neverReplaced(environment, `"local"`, `"another"`),
		resource.TestStep{Config: environment, PlanOnly: true},
	)
}

func TestEnvironmentConnection(t *testing.T) {
	address := "kiven_environment_connection.this"
	run(t,
		resource.TestStep{Config: connected, Check: resource.TestCheckResourceAttr(address, "status", "connected")},
		by(imported(address, "timeouts"), "environment_id"),
		neverReplaced(connected, `role/kiven-access`, `role/another`),
		neverReplaced(connected, `lt-local`, `lt-another`),
		neverReplaced(connected, `subnet-local-c`, `subnet-another-c`),
		resource.TestStep{
			Config:           strings.Replace(connected, "launch_template", "on_destroy = \"release\"\n  launch_template", 1),
			ConfigPlanChecks: inPlace(address),
			Check:            resource.TestCheckResourceAttr(address, "on_destroy", "release"),
		},
	)
}

func TestDatabase(t *testing.T) {
	address := "kiven_database.this"
	run(t,
		resource.TestStep{Config: database(`plan = "hobbyist"`), Check: resource.ComposeAggregateTestCheckFunc(
			resource.TestCheckResourceAttr(address, "status", "available"),
			resource.TestCheckResourceAttr(address, "host", "acceptance-rw.kiven-databases.svc"),
			resource.TestMatchResourceAttr(address, "connection_uri", regexp.MustCompile(`^postgresql://[^:@]+@`)),
		)},
		imported(address, "timeouts", "operation_id"),
		refused(database(`plan = "enormous"`), "KV-102"),
		neverReplaced(database(`plan = "hobbyist"`), `name                = "acceptance"`, `name = "renamed"`),
		resource.TestStep{
			Config:           database("plan = \"hobbyist\"\n  storage_gb = 20"),
			ConfigPlanChecks: inPlace(address),
			Check:            resource.TestCheckResourceAttr(address, "storage_gb", "20"),
		},
		refused(database("plan = \"hobbyist\"\n  storage_gb = 10"), "KV-"),
	)
}

func TestPowerSchedule(t *testing.T) {
	address := "kiven_power_schedule.this"
	run(t,
		resource.TestStep{Config: schedule("18:00"), Check: resource.TestCheckResourceAttr(address, "hours_per_week", "20")},
		imported(address),
		refused(schedule("25:00"), "KV-126"),
		resource.TestStep{
			Config:           schedule("17:00"),
			ConfigPlanChecks: inPlace(address),
			Check:            resource.TestCheckResourceAttr(address, "hours_per_week", "18"),
		},
	)
}
