# xdr/: the generated codecs are committed; the gate says when they are stale.
.PHONY: xdr xdr-check

xdr:
	@for x in xdr/*.x; do tools/xdrgen $$x src/xdr || exit 1; done

xdr-check:
	@tools/xdrgen --check xdr/*.x src/xdr

gates: xdr-check
