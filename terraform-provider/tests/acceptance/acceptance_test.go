// Package acceptance drives the provider's binary with HashiCorp's own test tool, against a running stack: each resource
// is created, read back, imported and compared, changed in place, refused where it must be, and destroyed.
package acceptance

import (
	"fmt"
	"regexp"
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

func refused(config, message string) resource.TestStep {
	return resource.TestStep{Config: config, ExpectError: regexp.MustCompile(message)}
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
		refused(regexp.MustCompile(`"local"`).ReplaceAllString(environment, `"another"`), "KV-"),
	)
}

func TestEnvironmentConnection(t *testing.T) {
	address := "kiven_environment_connection.this"
	run(t,
		resource.TestStep{Config: connected, Check: resource.TestCheckResourceAttr(address, "status", "connected")},
		by(imported(address, "timeouts"), "environment_id"),
		refused(regexp.MustCompile(`role/kiven-access`).ReplaceAllString(connected, `role/another`), "KV-"),
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
		resource.TestStep{
			Config:           database("plan = \"hobbyist\"\n  storage_gb = 20"),
			ConfigPlanChecks: inPlace(address),
			Check:            resource.TestCheckResourceAttr(address, "storage_gb", "20"),
		},
		refused(database("plan = \"hobbyist\"\n  storage_gb = 10"), "KV-"),
		refused(database(`plan = "enormous"`), "KV-"),
	)
}

func TestPowerSchedule(t *testing.T) {
	address := "kiven_power_schedule.this"
	run(t,
		resource.TestStep{Config: schedule("18:00"), Check: resource.TestCheckResourceAttr(address, "hours_per_week", "20")},
		imported(address),
		resource.TestStep{
			Config:           schedule("17:00"),
			ConfigPlanChecks: inPlace(address),
			Check:            resource.TestCheckResourceAttr(address, "hours_per_week", "18"),
		},
		refused(schedule("25:00"), "KV-126"),
	)
}
