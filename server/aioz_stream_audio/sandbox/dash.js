// No browser plays DASH by itself. This feeds the first stream of the sandbox's own manifests, segment by segment.
"use strict";
globalThis.playDash = async (audio, url) => {
  const once = (target, event) => new Promise((resolve) => {
    target.addEventListener(event, resolve, { once: true });
  });
  const bytes = async (from) => {
    const answer = await fetch(from);
    if (!answer.ok) throw new Error(`${answer.status} for a segment`);
    return answer.arrayBuffer();
  };
  const manifest = new DOMParser().parseFromString(await (await fetch(url)).text(), "application/xml");
  const stream = manifest.querySelector("Representation");
  const template = stream.querySelector("SegmentTemplate");
  const segment = (name, number) => new URL(template.getAttribute(name)
    .replace("$RepresentationID$", stream.getAttribute("id"))
    .replace(/\$Number%0(\d+)d\$/, (_, width) => String(number).padStart(Number(width), "0")), url);
  const source = new MediaSource();
  audio.src = URL.createObjectURL(source);
  await once(source, "sourceopen");
  const buffer = source.addSourceBuffer(`audio/mp4; codecs="${stream.getAttribute("codecs")}"`);
  const append = async (data) => { buffer.appendBuffer(data); await once(buffer, "updateend"); };
  await append(await bytes(segment("initialization")));
  let number = Number(template.getAttribute("startNumber"));
  for (const run of template.querySelectorAll("S")) {
    for (let left = 1 + Number(run.getAttribute("r")); left > 0; left -= 1) {
      while (buffer.buffered.length && buffer.buffered.end(0) - audio.currentTime > 60) await once(audio, "timeupdate");
      await append(await bytes(segment("media", number)));
      number += 1;
    }
  }
  source.endOfStream();
};
