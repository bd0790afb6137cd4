"""The floor under any MTCNN: the arithmetic of its networks at the core's rate for matrix products."""

from facet.detector.mtcnn_boxes import pyramid_scales

# Multiplications per output position: kernel height x width x channels in x channels out.
_P_CONV1, _P_CONV2, _P_CONV3, _P_HEADS = 9 * 3 * 10, 9 * 10 * 16, 9 * 16 * 32, 32 * 6
_R_NET = 22**2 * 9 * 3 * 28 + 9**2 * 9 * 28 * 48 + 3**2 * 4 * 48 * 64 + 576 * 128 + 128 * 6
_O_NET = 46**2 * 9 * 3 * 32 + 21**2 * 9 * 32 * 64 + 8**2 * 9 * 64 * 64 + 3**2 * 4 * 64 * 128 + 1152 * 256 + 256 * 16


def p_net_flops(height: int, width: int) -> float:
    """Floating-point operations, two for a multiplication and its addition, of P-Net over the pyramid."""
    total = 0
    for scale in pyramid_scales(height, width, 20, 0.709):
        h, w = int(height * scale), int(width * scale)
        rows, columns = (h - 1) // 2, (w - 1) // 2
        total += (h - 2) * (w - 2) * _P_CONV1 + (rows - 2) * (columns - 2) * _P_CONV2
        total += (rows - 4) * (columns - 4) * (_P_CONV3 + _P_HEADS)
    return 2.0 * total


def crops_flops(r_net_crops: float, o_net_crops: float) -> float:
    return 2.0 * (r_net_crops * _R_NET + o_net_crops * _O_NET)
