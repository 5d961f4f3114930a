//! Who needs whom: what the configuration declares, and what systemd says of the units that are watched.
//!
//! A circle among declared needs is refused when the configuration is read. One that systemd's own dependencies close is
//! cut here, always at the same place, and shown: two watches that wait for each other would wait for ever. (safety.md,
//! "DependencyDown".)

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{Resource, UnitName, WatchId};
use crate::policy::Policy;

type Edges = BTreeMap<WatchId, BTreeSet<WatchId>>;

/// Which watches provide what a watch needs, and which need what it provides.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    declared: Edges,
    /// As systemd says, whether it counts or was cut.
    told: Edges,
    causes: Edges,
    dependents: Edges,
    units: BTreeMap<UnitName, Vec<WatchId>>,
    cut: BTreeSet<(WatchId, WatchId)>,
}

impl Graph {
    pub fn of(policy: &Policy) -> Graph {
        let mut graph = Graph::default();
        let provides: Vec<(&WatchId, Vec<Resource>)> =
            policy.watches.iter().map(|(id, watch)| (id, watch.spec.provides())).collect();
        for (id, watch) in &policy.watches {
            let needs = watch.spec.needs(policy, watch);
            let met = |provided: &[Resource]| provided.iter().any(|p| needs.iter().any(|n| n.clashes(p)));
            for (other, provided) in &provides {
                if *other != id && (watch.needs.contains(other) || met(provided)) {
                    graph.declared.entry(id.clone()).or_default().insert((*other).clone());
                }
            }
            if let Some(unit) = watch.spec.unit() {
                graph.units.entry(unit.clone()).or_default().push(id.clone());
            }
        }
        graph.link();
        graph
    }

    /// systemd says that the unit of `id` cannot do without these. True: that is news.
    pub fn learn(&mut self, id: &WatchId, units: &[UnitName]) -> bool {
        let providers = units.iter().filter_map(|unit| self.units.get(unit)).flatten();
        let told: BTreeSet<WatchId> = providers.filter(|other| *other != id).cloned().collect();
        let known = self.told.get(id);
        if known.map_or(told.is_empty(), |known| *known == told) {
            return false;
        }
        let only_more = known.is_none_or(|known| known.is_subset(&told));
        self.told.insert(id.clone(), told.clone());
        // Five thousand units that each need one more are not linked anew five thousand times.
        if only_more && self.cut.is_empty() && told.iter().all(|other| !self.reaches(other, id)) {
            for other in &told {
                self.join(id, other);
            }
        } else {
            self.link();
        }
        true
    }

    /// Those that a watch needs.
    pub fn causes(&self, id: &WatchId) -> impl Iterator<Item = &WatchId> {
        self.causes.get(id).into_iter().flatten()
    }

    /// Those that need a watch.
    pub fn dependents(&self, id: &WatchId) -> impl Iterator<Item = &WatchId> {
        self.dependents.get(id).into_iter().flatten()
    }

    pub fn around(&self, id: &WatchId) -> impl Iterator<Item = &WatchId> {
        self.causes(id).chain(self.dependents(id))
    }

    /// Needs of a watch that systemd knows of and that count for nothing, because they close a circle.
    pub fn cut(&self, id: &WatchId) -> impl Iterator<Item = &WatchId> {
        self.cut.iter().filter(move |(dependent, _)| dependent == id).map(|(_, cause)| cause)
    }

    /// Those that keep this unit.
    pub fn keepers(&self, unit: &UnitName) -> impl Iterator<Item = &WatchId> {
        self.units.get(unit).into_iter().flatten()
    }

    /// Declared needs first, then systemd's, each in order of names; one that would close a circle is left out.
    fn link(&mut self) {
        (self.causes, self.dependents, self.cut) = (Edges::new(), Edges::new(), BTreeSet::new());
        for edges in [self.declared.clone(), self.told.clone()] {
            for (id, other) in edges.iter().flat_map(|(id, others)| others.iter().map(move |other| (id, other))) {
                if self.reaches(other, id) {
                    self.cut.insert((id.clone(), other.clone()));
                } else {
                    self.join(id, other);
                }
            }
        }
    }

    fn join(&mut self, id: &WatchId, cause: &WatchId) {
        self.causes.entry(id.clone()).or_default().insert(cause.clone());
        self.dependents.entry(cause.clone()).or_default().insert(id.clone());
    }

    /// `from` needs `to`, or something that does.
    fn reaches(&self, from: &WatchId, to: &WatchId) -> bool {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(id) = next.pop() {
            if id == to {
                return true;
            }
            if seen.insert(id) {
                next.extend(self.causes(id));
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(names: &[&str]) -> Graph {
        let mut graph = Graph::default();
        for name in names {
            graph
                .units
                .insert(UnitName::new(format!("{name}.service")), vec![WatchId::new(format!("service.{name}"))]);
        }
        graph
    }

    fn learn(graph: &mut Graph, name: &str, needs: &[&str]) -> bool {
        let units: Vec<UnitName> = needs.iter().map(|name| UnitName::new(format!("{name}.service"))).collect();
        graph.learn(&WatchId::new(format!("service.{name}")), &units)
    }

    fn causes(graph: &Graph, name: &str) -> Vec<String> {
        graph.causes(&WatchId::new(format!("service.{name}"))).map(|id| id.name().to_owned()).collect()
    }

    #[test]
    fn what_systemd_says_is_news_once_and_may_be_taken_back() {
        let mut graph = graph(&["api", "db"]);
        assert!(!learn(&mut graph, "api", &["sysinit", "api"]), "nobody watches these");
        assert!(learn(&mut graph, "api", &["db", "sysinit"]));
        assert!(!learn(&mut graph, "api", &["db"]));
        assert_eq!(causes(&graph, "api"), ["db"]);
        assert_eq!(graph.dependents(&WatchId::new("service.db")).count(), 1);
        assert!(learn(&mut graph, "api", &[]));
        assert_eq!(graph.around(&WatchId::new("service.db")).count(), 0);
    }

    #[test]
    fn a_circle_is_cut_at_the_same_place_whoever_is_heard_first() {
        let told = [("a", "b"), ("b", "c"), ("c", "a")];
        for first in 0..3 {
            let mut graph = graph(&["a", "b", "c"]);
            for n in 0..3 {
                let (id, need) = told[(first + n) % 3];
                assert!(learn(&mut graph, id, &[need]));
            }
            assert_eq!((causes(&graph, "a"), causes(&graph, "b")), (vec!["b".into()], vec!["c".into()]));
            let cut: Vec<&WatchId> = graph.cut(&WatchId::new("service.c")).collect();
            assert_eq!(cut, [&WatchId::new("service.a")]);
            assert!(learn(&mut graph, "b", &[]));
            assert_eq!(causes(&graph, "c"), ["a"], "the circle is gone");
        }
    }
}
