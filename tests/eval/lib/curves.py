"""Learning curves as an SVG: a panel for each reward, a line for each agent, every seed thin and their mean thick."""

import statistics

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, GAP = 900, 400, 60, 70, 60, 50
COLOURS = ["#1f6feb", "#bf5700", "#777777"]


def draw(result, agents, rewards):
    runs, panel = result["runs"], (WIDTH - LEFT - GAP * len(rewards)) / len(rewards)
    most = max(point["round"] for point in runs[0]["points"])
    text = lambda at, down, words, more="": f'<text x="{at:.1f}" y="{down:.1f}" {more}>{words}</text>'  # noqa: E731
    y = lambda share: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share  # noqa: E731
    title = f"Two agents trained at once from live traffic: reward on held-out prompts, {len(runs)} seeds"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<title>{title}</title><rect width="100%" height="100%" fill="white"/>',
        text(LEFT, 28, title, 'font-size="16"'),
    ]
    for place, reward in enumerate(rewards):
        start = LEFT + place * (panel + GAP)
        x = lambda n, start=start: start + panel * n / most  # noqa: E731
        parts.append(text(start, TOP - 14, f"reward of “{reward}”", 'font-weight="bold"'))
        for tenth in range(0, 11, 2):
            parts.append(f'<line x1="{start:.1f}" x2="{start + panel:.1f}" y1="{y(tenth / 10):.1f}" y2="{y(tenth / 10):.1f}" stroke="#ddd"/>')
            parts.append(text(start - 8, y(tenth / 10) + 4, f"{tenth / 10:.1f}", 'text-anchor="end"'))
        parts.append(text(start + panel / 2, HEIGHT - 15, f"batches of traffic ({result['batch']} rewarded answers each)", 'text-anchor="middle"'))
        rounds = [point["round"] for point in runs[0]["points"]]
        parts += [text(x(n), HEIGHT - BOTTOM + 18, n, 'text-anchor="middle"') for n in rounds]
        for number, agent in enumerate(agents):
            colour = COLOURS[number % len(COLOURS)]
            lines = [[point["rewards"][agent][reward] for point in run["points"]] for run in runs]
            path = lambda values: " ".join(f"{x(n):.1f},{y(v):.1f}" for n, v in zip(rounds, values))  # noqa: E731
            parts += [f'<polyline points="{path(line)}" fill="none" stroke="{colour}" stroke-width="1" opacity="0.45"/>' for line in lines]
            means = [statistics.mean(each) for each in zip(*lines)]
            parts.append(f'<polyline points="{path(means)}" fill="none" stroke="{colour}" stroke-width="3"/>')
            if place == 0:
                name = agent if agent in rewards else f"{agent} (base model)"
                parts.append(text(start + 10, TOP + 12 + 18 * number, name, f'fill="{colour}"'))
            if agent == reward:
                parts.append(text(x(most), y(means[-1]) - 8, f"{means[0]:.2f} → {means[-1]:.2f}", f'text-anchor="end" fill="{colour}"'))
    return "\n".join(parts) + "\n</svg>\n"
