// A grey PNG of 16 bits: browsers draw 8 bits only, and a map of segments has more ids than that.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value >>> 0;
});

function checksum(data) {
  let value = 0xffffffff;
  for (const byte of data) value = TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

function chunk(kind, body) {
  const data = new Uint8Array(12 + body.length);
  const view = new DataView(data.buffer);
  view.setUint32(0, body.length);
  data.set([...kind].map((letter) => letter.charCodeAt(0)), 4);
  data.set(body, 8);
  view.setUint32(8 + body.length, checksum(data.subarray(4, 8 + body.length)));
  return data;
}

async function deflated(data) {
  const stream = new Blob([data]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// `values`: Uint16Array of width x height.
export async function greyPng(values, width, height) {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([16, 0, 0, 0, 0], 8); // bits, grey, deflate, no filter of the whole, not interlaced
  const rows = new Uint8Array(height * (2 * width + 1)); // each row begins with its filter, 0: none
  for (let y = 0; y < height; y += 1) {
    let place = y * (2 * width + 1) + 1;
    for (let x = 0; x < width; x += 1, place += 2) {
      const value = values[y * width + x];
      rows[place] = value >> 8;
      rows[place + 1] = value & 255;
    }
  }
  const parts = [new Uint8Array(SIGNATURE), chunk("IHDR", header), chunk("IDAT", await deflated(rows))];
  return new Blob([...parts, chunk("IEND", new Uint8Array())], { type: "image/png" });
}
