//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use hostward_core::drill::Wound;

/// Keeps one Linux host in the state that its operator declared.
///
/// Hostward watches services and dependency baselines through systemd. When something has gone wrong it takes the least
/// remedy that the evidence supports, proves that it worked, and can always say why it acted, or why it did not.
#[derive(Debug, Parser)]
#[command(name = "hostward", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

pub(crate) const EXIT_CODES: &str = "\
Exit codes, the same for every verb:
   0  healthy, or done
   1  unhealthy, and held or proposed
   2  usage or configuration
   3  a remedy failed
   4  the state cannot be known
   5  refused by policy
  75  busy: another cycle or deploy holds the lock

First steps:
  hostward init > /etc/hostward/hostward.toml    what runs here, in observe mode
  hostward config check                          no privileges, no host needed
  systemctl enable --now hostward
  hostward status";

#[derive(Args, Debug)]
pub(crate) struct Global {
    /// Print JSON, in a documented and versioned shape
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Where the configuration is
    #[arg(long, global = true, value_name = "DIR", default_value = "/etc/hostward")]
    pub(crate) config: PathBuf,
    /// Where the ledger is
    #[arg(long, global = true, value_name = "DIR", default_value = "/var/lib/hostward", hide = true)]
    pub(crate) state: PathBuf,
    /// Where the control socket is
    #[arg(long, global = true, value_name = "DIR", default_value = "/run/hostward", hide = true)]
    pub(crate) run: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the daemon (systemd does this: systemctl enable --now hostward)
    Run,
    /// Print a first configuration from the live host, in observe mode
    #[command(after_help = "Example:\n  hostward init > /etc/hostward/hostward.toml")]
    Init,
    /// Show every watch: what it is, since when, and what holds a remedy
    Status,
    /// Look afresh at one watch, or at all, and say what is seen; never acts
    #[command(after_help = "Examples:\n  hostward check\n  hostward check baseline.app --json")]
    Check {
        /// KIND.NAME, as in the configuration
        watch: Option<String>,
    },
    /// Say why a watch acts, or does not: its looks, its plan, and every hold with when it lifts
    #[command(after_help = "Example:\n  hostward explain service.api")]
    Explain { watch: String },
    /// Print the plan that would be executed now, and what holds it; changes nothing
    #[command(after_help = "Example:\n  hostward plan baseline.app")]
    Plan { watch: String },
    /// Have one whole cycle of a watch: through the daemon, or here when none runs
    #[command(
        after_help = "Examples:\n  hostward trigger baseline.app\n  systemctl start hostward-watch@baseline.app.timer"
    )]
    Trigger {
        watch: String,
        /// How long to wait for what is being confirmed
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        wait: u64,
    },
    /// Print the ledger: what was seen, held, done and proved; works with the daemon dead
    #[command(after_help = "Examples:\n  hostward history --last 50\n  hostward history service.api")]
    History {
        watch: Option<String>,
        /// Only the newest N records
        #[arg(long, value_name = "N")]
        last: Option<usize>,
        /// What each remedy was worth: attempts, cleared, relapsed, by itself, median time to clear
        #[arg(long, conflicts_with = "last")]
        stats: bool,
    },
    /// Create the sentinel of the host, or of one watch: it may act from now on
    Enable { watch: Option<String> },
    /// Remove the sentinel of the host, or of one watch: it only observes from now on
    Disable { watch: Option<String> },
    /// Say that you have looked: at what is stuck of one watch, or at all of it and at a ledger that was set aside
    #[command(after_help = "Examples:\n  hostward clear\n  hostward clear baseline.app")]
    Clear { watch: Option<String> },
    /// Hold a watch, or with --all every watch, for a while: it is observed, and nothing is done
    #[command(after_help = "Examples:\n  hostward pause service.api --for 2h --reason 'moving the database'\n  \
                            hostward pause --all --for 30min --reason 'kernel update'")]
    Pause {
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        watch: Option<String>,
        #[arg(long)]
        all: bool,
        /// It ends by itself after this: 90s, 30min, 2h, 3d; at most 30d
        #[arg(long = "for", value_name = "SPAN", value_parser = hostward_config::span)]
        span: hostward_core::time::Ms,
        /// Shown wherever it holds something
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// End a pause before its time
    #[command(after_help = "Examples:\n  hostward resume service.api\n  hostward resume --all")]
    Resume {
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        watch: Option<String>,
        #[arg(long)]
        all: bool,
    },
    /// Carry out the very plan that `plan` or `status` showed, if all that it rests on still holds
    #[command(after_help = "Example:\n  hostward plan baseline.app\n  hostward apply 4c0ffee4c0ff")]
    Apply {
        /// The plan's hash
        plan: String,
        /// How long to wait for its end
        #[arg(long, value_name = "SECONDS", default_value_t = 900)]
        wait: u64,
    },
    /// Load the configuration anew; one that does not load never replaces the one in force
    Reload,
    /// Check or show the configuration
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Run a recording of what was observed through the engine again, and say which decisions would change
    #[command(after_help = "Examples:\n  hostward replay /var/lib/hostward/observed.jsonl\n  \
                            hostward replay observed.jsonl --under ./etc/hostward")]
    Replay {
        file: PathBuf,
        /// Another configuration to judge it by
        #[arg(long, value_name = "DIR")]
        under: Option<PathBuf>,
    },
    /// Play an incident to its end: what would be seen, done and proved; touches nothing, or with --live only its own
    #[command(subcommand)]
    Drill(DrillVerb),
    /// Say what would keep Hostward from working here
    Doctor,
    /// What is told to people
    #[command(subcommand)]
    Notify(NotifyVerb),
    /// Print the manual page: hostward man | man -l -
    #[command(after_help = "Example:\n  hostward man > /usr/share/man/man1/hostward.1")]
    Man,
    /// Print what a shell needs to complete this command line
    #[command(
        after_help = "Examples:\n  hostward completions bash > /usr/share/bash-completion/completions/hostward\n  hostward completions zsh > /usr/share/zsh/vendor-completions/_hostward\n  hostward completions fish > /usr/share/fish/vendor_completions.d/hostward.fish"
    )]
    Completions {
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Say everything that is wrong with a configuration, each with file, line and column
    #[command(after_help = "Examples:\n  hostward config check\n  hostward config check ./etc/hostward")]
    Check { dir: Option<PathBuf> },
    /// Print the configuration as it is understood, defaults included
    Show { dir: Option<PathBuf> },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DrillVerb {
    /// A hot path of a storage watch is lost
    #[command(after_help = "Examples:\n  hostward drill storage /srv/jobs/7 --stale\n  \
                            hostward drill storage /srv/box --hung --json\n  \
                            hostward drill storage --live --missing")]
    Storage {
        /// The hot path that is taken to be lost, over one look at this host
        #[arg(required_unless_present = "live", conflicts_with = "live")]
        path: Option<PathBuf>,
        /// Really: a mount and a writer are made for it below /run/hostward-drill, broken, repaired and taken away
        #[arg(long)]
        live: bool,
        #[command(flatten)]
        wounds: Wounds,
    },
}

/// What is taken to be wrong: one of them.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct Wounds {
    /// Its file server is gone (ENOTCONN)
    #[arg(long)]
    stale: bool,
    /// Its file server answers nobody any more
    #[arg(long)]
    hung: bool,
    /// Nothing is mounted there
    #[arg(long)]
    missing: bool,
}

impl Wounds {
    pub(crate) fn one(&self) -> Wound {
        match (self.stale, self.hung) {
            (true, _) => Wound::Stale,
            (_, true) => Wound::Hung,
            _ => Wound::Missing,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum NotifyVerb {
    /// Send a test message to one notifier, or to each, and say what came back
    #[command(after_help = "Examples:\n  hostward notify test\n  hostward notify test phone")]
    Test {
        /// NAME of a [notify.NAME]
        name: Option<String>,
    },
}

impl Verb {
    /// Only root may. The daemon goes by its callers' credentials, and without one the files are root's.
    pub(crate) fn changes(&self) -> bool {
        matches!(
            self,
            Verb::Run
                | Verb::Trigger { .. }
                | Verb::Enable { .. }
                | Verb::Disable { .. }
                | Verb::Clear { .. }
                | Verb::Pause { .. }
                | Verb::Resume { .. }
                | Verb::Apply { .. }
                | Verb::Reload
                | Verb::Drill(DrillVerb::Storage { live: true, .. })
        )
    }
}
