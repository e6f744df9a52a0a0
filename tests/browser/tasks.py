"""How long a page's own thread is held up."""

TASK_MS = 100  # twice the goal, for a busy machine


def tasks_ms(page, act) -> list[float]:
    """Processor time of every task of the page's own thread while `act()` runs."""
    session, events, ended = page.context.new_cdp_session(page), [], []
    session.on("Tracing.dataCollected", lambda told: events.extend(told["value"]))
    session.on("Tracing.tracingComplete", lambda told: ended.append(told))
    session.send("Tracing.start", {"categories": "toplevel"})
    act()
    session.send("Tracing.end")
    while not ended:
        page.wait_for_timeout(50)
    named = [event for event in events if event["name"] == "thread_name"]
    own = {(e["pid"], e["tid"]) for e in named if e["args"]["name"] == "CrRendererMain"}
    return [e.get("tdur", 0) / 1000 for e in events if (e["pid"], e["tid"]) in own]
