"""Who reaches whom under NetworkPolicies, as Kubernetes says it: pods that no policy selects are open;
others take what a rule of one of their policies names."""


def reaches(policies, caller, pod, port):
    """`caller` and `pod` are (namespace, labels); `port` is its number and the name that it may have."""
    selected = [of for of in policies if of["metadata"]["namespace"] == pod[0] and matches(of["spec"]["podSelector"], pod[1])]
    rules = [rule for of in selected for rule in of["spec"].get("ingress", [])]
    return not selected or any(lets_in(rule, caller, pod[0], port) for rule in rules)


def lets_in(rule, caller, place, port):
    from_there = "from" not in rule or any(is_peer(peer, caller, place) for peer in rule["from"])
    return from_there and ("ports" not in rule or any(of["port"] in port for of in rule["ports"]))


def is_peer(peer, caller, place):
    assert not set(peer) - {"namespaceSelector", "podSelector"}, peer
    namespace, labels = caller
    if "namespaceSelector" in peer:
        there = matches(peer["namespaceSelector"], {"kubernetes.io/metadata.name": namespace})
    else:
        there = namespace == place
    return there and matches(peer.get("podSelector", {}), labels)


def matches(selector, labels):
    assert not set(selector) - {"matchLabels"}, selector
    return selector.get("matchLabels", {}).items() <= labels.items()
