// Whether a file begins as a picture does; facet/pictures/signatures.py has the same.
const PICTURE = new RegExp(
  "^(?:" +
    [
      "\\xff\\xd8\\xff",
      "\\x89PNG\\r\\n\\x1a\\n",
      "GIF8[79]a",
      "RIFF.{4}WEBP",
      "II[*+]\\0|MM\\0[*+]",
      "BM.{12}[\\x0c\\x28\\x34\\x38\\x40\\x6c\\x7c]\\0{3}",
      ".{4}ftyp(?:.{4}){0,12}?(?:hei[cxms]|hev[cxms]|mif1|msf1|avi[fs])",
    ].join("|") +
    ")",
  "s",
);
const FIRST_BYTES = 64;

export async function isPicture(file) {
  const first = new Uint8Array(await file.slice(0, FIRST_BYTES).arrayBuffer());
  return PICTURE.test(String.fromCharCode(...first));
}
