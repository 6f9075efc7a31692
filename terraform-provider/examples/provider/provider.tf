terraform {
  required_providers {
    kiven = {
      source = "kiven/kiven"
    }
  }
}

# The API key comes from KIVEN_API_KEY, or from the credentials file that `kiven login` keeps.
provider "kiven" {}
