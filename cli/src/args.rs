//! What can be typed: the command line's grammar, its help and its exit codes.
use crate::logs::Logs;
use crate::manifest::Values;
use clap::{Parser, Subcommand};
use clap_complete::Shell;
use std::ffi::OsString;

const AFTER_HELP: &str = "\
Endpoint and API key: KIVEN_ENDPOINT and KIVEN_API_KEY, else the credentials file that `kiven dev` writes
($XDG_CONFIG_HOME/kiven/credentials.json).

Exit codes:
  0  done
  1  refused, or the operation failed and was undone
  2  the command line is wrong
  3  there is no such thing
  4  no answer: no credentials, the API cannot be reached, or time was up; trying again may help
  5  the operation is stuck and needs a person
`kiven dev` and `kiven psql` become the program they start and end with its code.";

/// Managed PostgreSQL on your own EKS.
#[derive(Debug, Parser)]
#[command(name = "kiven", version, about, after_help = AFTER_HELP, propagate_version = false)]
pub(crate) struct Arguments {
    /// Answer with one JSON value on standard output.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the local stack: `kiven dev [--state FOLDER] [--port PORT] [--kubeconfig FILE]`, `kiven dev status`, `kiven dev stop`.
    #[command(disable_help_flag = true)]
    Dev {
        /// Passed on to `kiven-local dev` as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Print a completion script, for example `kiven completion bash`.
    Completion { shell: Shell },
    /// The agent as an installation sees it.
    #[command(subcommand)]
    Agent(Agent),
    #[command(flatten)]
    Api(Api),
}

/// What is said of the agent without asking the API.
#[derive(Debug, Subcommand)]
pub(crate) enum Agent {
    /// Print the objects of the agent's chart, for whoever installs without Helm.
    Manifest(Box<Values>),
}

/// What asks the API.
#[derive(Debug, Subcommand)]
pub(crate) enum Api {
    /// Look at databases, pause and resume them.
    #[command(subcommand, visible_alias = "database")]
    Databases(Databases),
    /// List operations, or follow one to its end.
    #[command(subcommand, visible_alias = "operation")]
    Operations(Operations),
    /// Look at environments: connected EKS clusters.
    #[command(subcommand, visible_alias = "environment")]
    Environments(Environments),
    /// Look at power schedules, and delete them.
    #[command(subcommand, visible_alias = "schedule")]
    Schedules(Schedules),
    /// Read what PostgreSQL logs, live: sealed by the database's agent, opened here and nowhere in between.
    Logs(Logs),
    /// List the plans on offer.
    Plans,
    /// Open psql on a database of the local stack.
    Psql {
        /// Its name or id.
        database: String,
        /// Print the connection string (without a password) instead of starting psql.
        #[arg(long)]
        print: bool,
        /// Arguments for psql, after `--`.
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Databases {
    /// List databases.
    List {
        /// Deleted and failed ones too.
        #[arg(long)]
        all: bool,
    },
    /// Show one database.
    Show {
        /// Its name or id.
        database: String,
    },
    /// What its schedules decided, and why, the newest last.
    Events {
        /// Its name or id.
        database: String,
    },
    /// Power off: PostgreSQL stops, the volumes stay, the nodes go.
    Pause(Power),
    /// Power on: the same data behind the same address.
    Resume(Power),
    /// Take a deletion back while its grace lasts: the database is paused again.
    Undelete(Power),
    /// Replace the nodes by such of the newest machine image: the standbys' first, the primary's after a switchover.
    PatchNodes(Maintenance),
    /// Renew the server certificate from the database's own authority; open connections stay.
    RotateCertificates(Maintenance),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Power {
    /// Its name or id.
    pub(crate) database: String,
    /// Return as soon as the operation is accepted.
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Maintenance {
    #[command(flatten)]
    pub(crate) power: Power,
    /// At once, also outside of the maintenance window; inside of it Kiven does by itself what is needed.
    #[arg(long)]
    pub(crate) now: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Upgrade {
    /// Its name or id.
    pub(crate) environment: String,
    /// Nothing moves by itself from now on.
    #[arg(long, conflicts_with_all = ["resume", "no_wait"])]
    pub(crate) pause: bool,
    /// Operator and plugin move by themselves again, in their databases' maintenance windows.
    #[arg(long, conflicts_with = "no_wait")]
    pub(crate) resume: bool,
    /// Return as soon as the operation is accepted.
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Disconnect {
    /// Its name or id.
    pub(crate) environment: String,
    /// Its databases run on as your own: Kiven forgets them and touches nothing. All of them must run.
    #[arg(long, conflicts_with = "destroy")]
    pub(crate) release: bool,
    /// Its databases are deleted, each with its own deletion settings: this is the consent to it.
    #[arg(long)]
    pub(crate) destroy: bool,
    /// Do not ask for the environment's name first. Needed with --json and where nobody can be asked.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Return as soon as the operation is accepted.
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Operations {
    /// List operations, the newest first.
    List {
        /// Only those of this database (name or id).
        #[arg(long)]
        database: Option<String>,
    },
    /// Follow an operation to its end.
    Watch {
        /// The operation's id, or a database (name or id) whose last operation is meant.
        #[arg(value_name = "ID_OR_DATABASE")]
        target: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Schedules {
    /// List power schedules.
    List,
    /// Show one power schedule.
    Show {
        /// Its id, or a database (name or id) that follows it.
        #[arg(value_name = "ID_OR_DATABASE")]
        schedule: String,
    },
    /// Delete a power schedule; the power of its databases stays as it is.
    Delete {
        /// Its id, or a database (name or id) that follows it.
        #[arg(value_name = "ID_OR_DATABASE")]
        schedule: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Environments {
    /// List environments.
    List,
    /// Show one environment.
    Show {
        /// Its name or id.
        environment: String,
    },
    /// Look whether its role opens and all is as Kiven made it.
    Check {
        /// Its name or id.
        environment: String,
    },
    /// How to pause and resume its databases without Kiven: print it once and keep it.
    Runbook {
        /// Its name or id.
        environment: String,
    },
    /// Make the single-use token with which its agent enrols, where `agent_enrolment` is `token`. It is shown once.
    AgentToken {
        /// Its name or id.
        environment: String,
    },
    /// Move operator and plugin to their next listed releases now, or keep them from moving by themselves.
    Upgrade(Upgrade),
    /// Disconnect it. While it has databases, choose what becomes of them.
    Disconnect(Disconnect),
    /// What Kiven made in its account and nothing explains any more, with what it costs.
    Orphans {
        /// Its name or id.
        environment: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn dev_passes_everything_on() {
        let parsed = Arguments::try_parse_from(["kiven", "dev", "--state", "x", "--port", "7", "stop", "--help"]).unwrap();
        let Command::Dev { arguments } = parsed.command else { panic!("not dev") };
        assert_eq!(arguments, ["--state", "x", "--port", "7", "stop", "--help"]);
    }

    #[test]
    fn psql_takes_arguments_after_two_dashes() {
        let parsed = Arguments::try_parse_from(["kiven", "psql", "shop", "--", "-c", "select 1"]).unwrap();
        let Command::Api(Api::Psql { database, arguments, print: false }) = parsed.command else { panic!("not psql") };
        assert_eq!((database.as_str(), arguments.len()), ("shop", 2));
    }

    #[test]
    fn json_goes_anywhere() {
        for line in [["kiven", "--json", "plans"], ["kiven", "plans", "--json"]] {
            assert!(Arguments::try_parse_from(line).unwrap().json);
        }
    }
}
