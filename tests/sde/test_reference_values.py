"""Kernels against values that this code did not make: tables of 16 digits, mpmath at 50, matrix exponentials."""

import mpmath
import numpy as np
import pytest
import scipy.linalg

from torchdiff.sde import CLD, VE, VP, Cosine, SubVP

# 16 digits, by mpmath: t -> alpha, sigma, half_log_snr of VP with beta from 0.1 to 20
VP_TABLE = {
    0.001: (0.9999450265110976, 0.0104854163350949, 4.5577149327298977),
    0.01: (0.9990029973377465, 0.04464315524465706, 3.10805678140297),
    0.1: (0.9467217988205981, 0.3220525355247045, 1.078290592942433),
    0.5: (0.2811828807967524, 0.9596542020680362, -1.227567734410787),
    1.0: (0.006571586494929615, 0.9999784068923387, -5.024978406659204),
}
# t -> sigma, g^2 of sub-VP with beta from 0.1 to 20
SUB_VP_TABLE = {
    0.001: (0.0001099439557202749, 2.636311126968133e-5),
    0.01: (0.001993011310198551, 0.001190633107368042),
    0.1: (0.103717835637891, 0.4110576090589206),
    0.5: (0.9209361875468393, 9.987176581281733),
    1.0: (0.9999568142509397, 19.99999996269982),
}
# t -> sigma, g of VE from 0.01 to 50
VE_TABLE = {
    0.0: (0.01, 0.0412727348049926),
    0.5: (0.7071067811865475, 2.918423065872431),
    1.0: (50.0, 206.363674024963),
}
# t -> mean map by rows; Sxx, Sxv, Svv with gamma = 0.04; the same with gamma = 0; 1 / L22 with gamma = 0.04
CLD_TABLE = {
    0.001: (
        (0.9999681701557571, 0.01587251063739297, -0.003968127659348243, 0.9840956595183641),
        (3.193892802587991e-6, 2.191848367227131e-4, 0.01755762986298693),
        (6.745268632464612e-7, 6.298414848353825e-5, 0.007873187192158093),
        19.93709863416237,
    ),
    0.01: (
        (0.9969656540975666, 0.1476986154218617, -0.03692465385546543, 0.8492670386757049),
        (8.239131104026924e-4, 0.006708075906742016, 0.07553548922221376),
        (6.057643004273423e-4, 0.005453720249383753, 0.06832294419240374),
        6.913810251719681,
    ),
    0.1: (
        (0.8087921354109989, 0.7189263425875545, -0.1797315856468886, 0.08986579282344432),
        (0.2218100610414002, 0.1298598403741624, 0.2157583505481064),
        (0.216641510180737, 0.1292137715165795, 0.2156775919409086),
        2.675181449453372,
    ),
    0.5: (
        (0.0915781944436709, 0.1465251111098734, -0.03663127777746836, -0.05494691666620254),
        (0.9864607283378546, 0.005286891015743587, 0.2479335502121205),
        (0.986246032255997, 0.005367402046440189, 0.2479033585756093),
        2.008432166426179,
    ),
    1.0: (
        (0.003019163651122607, 0.005367402046440189, -0.001341850511610047, -0.002348238395317583),
        (0.999983970489713, 7.076211786347013e-6, 0.2499968760235498),
        (0.9999836823996657, 7.202251182032583e-6, 0.2499968208813142),
        2.000012496223211,
    ),
}
RELATIVE = 1e-12  # the tables have 16 digits; 1e-12 leaves the last steps of exp, log1p and sqrt their ulps


def same(value, reference, rel=RELATIVE):
    assert value == pytest.approx(reference, rel=rel, abs=0.0)


@pytest.mark.parametrize("t", VP_TABLE)
def test_vp_levels_are_the_table(t):
    """alpha, sigma and log(alpha / sigma) of VP are the 16-digit values."""
    level = VP().level(t)
    same((level.alpha, level.sigma, level.half_log_snr), VP_TABLE[t])


@pytest.mark.parametrize("t", SUB_VP_TABLE)
def test_sub_vp_levels_are_the_table(t):
    """alpha, sigma and g^2 of sub-VP are the 16-digit values; alpha is VP's."""
    sde = SubVP()
    same((sde.level(t).alpha, sde.level(t).sigma, sde.noise(t)[0][0] ** 2), (VP_TABLE[t][0], *SUB_VP_TABLE[t]))


@pytest.mark.parametrize("t", [1e-8, 1e-3, 0.4, 0.9, 0.999, 1.0 - 1e-7])
def test_cosine_keeps_its_digits_at_both_ends(t):
    """alpha, sigma, F and transitions agree with 50-digit arithmetic from 1e-8 of t = 0 to 1e-7 of alpha = 0."""
    sde = Cosine(t_max=1.0)
    with mpmath.workdps(50):
        pace = mpmath.pi / 2 / (1 + mpmath.mpf(sde.s))

        def alpha(t):
            return mpmath.cos((mpmath.mpf(t) + sde.s) * pace) / mpmath.cos(sde.s * pace)

        same(sde.level(t)[1:], (float(alpha(t)), float(mpmath.sqrt(1 - alpha(t) ** 2))))
        same(sde.drift(t)[0][0], float(-pace * mpmath.tan((mpmath.mpf(t) + sde.s) * pace)))
        for end in (t + 1e-9, 0.5 * (t + 1.0), 1.0):
            mean, factor = sde.transition(t, end)
            wanted = alpha(end) / alpha(t)
            same(factor[0][0], float(mpmath.sqrt(1 - wanted**2)))
            # at t = 1 the mean is 0, and the digits of cos(pi / 2) are those of pi
            assert mean[0][0] == pytest.approx(float(wanted), rel=RELATIVE, abs=1e-40)


@pytest.mark.parametrize("t", VE_TABLE)
def test_ve_levels_are_the_table(t):
    """sigma, g and the constant alpha of VE are the 16-digit values."""
    level = VE().level(t)
    same((level.alpha, level.sigma, VE().noise(t)[0][0]), (1.0, *VE_TABLE[t]))


@pytest.mark.parametrize("t", CLD_TABLE)
def test_cld_levels_are_the_table(t):
    """Mean map, both covariances (velocity spread out at the start, or at rest) and 1 / L22 of CLD are the table's."""
    mean, hybrid, rest, reach = CLD_TABLE[t]
    level = CLD().level(t)
    same([*level.alpha[0], *level.alpha[1]], mean)
    for gamma, values in ((0.04, hybrid), (0.0, rest)):
        factor = CLD(gamma=gamma).level(t).sigma
        cov = factor @ factor.T
        same((cov[0][0], cov[0][1], cov[1][0], cov[1][1]), (values[0], values[1], values[1], values[2]))
    same(1.0 / level.sigma[1][1], reach)


def exact_cld(sde, start, end, initial):
    """Mean map and Cholesky entries at 50 digits from E = exp(A B) and Cov = E (C0 - S) E^T + S, S = diag(1, M)."""
    with mpmath.workdps(50):
        mass, start, end = map(mpmath.mpf, (sde.mass, start, end))
        friction = 2 * mpmath.sqrt(mass)
        clock = sde.beta * (end - start) + mpmath.mpf(sde.slope) * (end**2 - start**2) / 2
        rule = mpmath.matrix([[0, 1 / mass], [-1, -friction / mass]])
        flow = mpmath.expm(rule * clock)
        still = mpmath.diag([1, mass])
        cov = flow * (mpmath.diag([0, mpmath.mpf(initial) * mass]) - still) * flow.T + still
        xx = mpmath.sqrt(cov[0, 0])
        low = cov[0, 1] / xx
        return [float(v) for v in flow], [float(v) for v in (xx, low, mpmath.sqrt(cov[1, 1] - low**2))]


@pytest.mark.parametrize("slope", [0.0, 6.9])
@pytest.mark.parametrize("beta", [0.1, 4.0])
@pytest.mark.parametrize("gamma", [0.0, 0.04])
@pytest.mark.parametrize("mass", [0.25, 0.4, 1.0])
def test_cld_keeps_its_digits_down_to_1e_8(mass, gamma, beta, slope):
    """Levels, and transitions from a time that is not 0, agree with 50-digit arithmetic for spans from 1e-8 to 1."""
    sde = CLD(mass=mass, gamma=gamma, beta=beta, slope=slope)
    for span in (1e-8, 1e-6, 1e-4, 1e-3, 0.03, 0.3, 0.7):
        level, begin = sde.level(span), 0.25
        pairs = [((level.alpha, level.sigma), exact_cld(sde, 0.0, span, gamma))]
        pairs.append((sde.transition(begin, begin + span), exact_cld(sde, begin, begin + span, 0.0)))
        for (flow, factor), (mean, entries) in pairs:
            # E22 = e^-2p (1 - 2p) passes through zero, so the mean map is compared on the scale of its largest entry
            assert [*flow[0], *flow[1]] == pytest.approx(mean, rel=0.0, abs=RELATIVE * max(map(abs, mean)))
            same((factor[0][0], factor[1][0], factor[1][1]), entries)
            assert factor[0][1] == 0.0


def test_cld_of_mass_one_is_the_lecture_form():
    """mass = 1, beta = 1 is dX = V dt, dV = -X dt - 2 V dt + 2 dW, and its kernel the matrix exponential (van Loan)."""
    sde = CLD(mass=1.0, beta=1.0)
    drift, noise = np.array([[0.0, 1.0], [-1.0, -2.0]]), np.diag([0.0, 2.0])
    assert np.array_equal(sde.drift(0.3), drift)
    assert np.array_equal(sde.noise(0.3), noise)
    for start, end in ((0.0, 0.1), (0.2, 0.6), (0.0, 1.0)):
        block = np.block([[-drift, noise @ noise.T], [np.zeros((2, 2)), drift.T]])
        exp = scipy.linalg.expm(block * (end - start))
        flow, factor = map(np.array, sde.transition(start, end))
        mean = exp[2:, 2:].T
        np.testing.assert_allclose(flow, mean, rtol=0, atol=1e-14)  # scipy's Pade is good to a few ulp of 1
        np.testing.assert_allclose(factor @ factor.T, mean @ exp[:2, 2:], rtol=0, atol=1e-14)
